/** Plan: what fits on a machine, how fast it is, what it costs; and what grouped queries buy. */
import { type Route, replaceQuery } from "../../router";
import { Answer } from "./answer";
import { Compared } from "./compared";
import { Controls } from "./controls";
import { Curves } from "./curves";
import { type Choices, type Query, useAnswer, usePlan } from "./plan";

export default function PlanPage({ route }: { route: Route }) {
  const query = Object.fromEntries(route.query);
  const { answer: choices, fault: noChoices } = useAnswer<Choices>("ai/plan/choices");
  const { answer: plan, fault } = usePlan(query);
  const change = (values: Query) => replaceQuery(given({ ...query, ...values }));
  const words = fault ?? noChoices;
  return (
    <div class="page plan">
      <header class="plan-head">
        <h1>Plan</h1>
        <p class="lead">What fits on a machine, how many tokens a second, at what cost. The engine's own arithmetic; nothing is loaded.</p>
      </header>
      {words && <p class="fault" role="alert">{words.message}</p>}
      {choices && plan
        ? (
          <div class="plan-columns">
            <Controls query={query} choices={choices} plan={plan} onChange={change} />
            <div class="plan-answers">
              <Answer plan={plan} />
              <Compared plan={plan} />
              <Curves plan={plan} />
            </div>
          </div>
        )
        : !words && <p class="hint" role="status">Planning …</p>}
    </div>
  );
}

/** An empty value leaves the choice to the server. */
function given(query: Query): Record<string, string> {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== ""));
}
