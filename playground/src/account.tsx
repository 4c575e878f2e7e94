/** Who is signed in, for how long, and the way out. */
import { useEffect, useState } from "preact/hooks";
import { accountPath, type ApiError, getResult } from "./api";
import { credentials, isRemembered, keep, signOut } from "./session";
import { count } from "./charts/format";
import { CopyButton } from "./ui/copy";
import { Dialog } from "./ui/dialog";

interface Day {
  readonly requests: number;
  readonly prompt_tokens: number;
  readonly output_tokens: number;
  readonly neurons: number;
}

export function AccountDialog({ onClose }: { onClose: () => void }) {
  const { accountId } = credentials.value!;
  const leave = () => {
    onClose();
    signOut();
  };
  return (
    <Dialog title="Account" onClose={onClose}>
      <p class="field-name">Account id</p>
      <p class="account-id"><code>{accountId}</code><CopyButton quiet label="Copy the account id" text={() => accountId} /></p>
      <Today />
      <label class="check">
        <input type="checkbox" checked={isRemembered.value} onChange={({ currentTarget }) => keep(currentTarget.checked)} />
        Stay signed in on this browser
      </label>
      <p class="hint">The API token is kept in this browser alone{isRemembered.value ? ", until you sign out" : ", until this tab is closed"}.</p>
      <button type="button" class="button" onClick={leave}>Sign out</button>
    </Dialog>
  );
}

/** What the account used today, in UTC, as limits count it. */
function Today() {
  const [day, setDay] = useState<Day | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  useEffect(() => {
    const today = new Date().toISOString().slice(0, 10);
    getResult<Day[]>(accountPath(`ai/usage?by=day&since=${today}`)).then(
      ([found]) => setDay(found ?? { requests: 0, prompt_tokens: 0, output_tokens: 0, neurons: 0 }),
      (error: ApiError) => setFault(error.message),
    );
  }, []);
  if (fault) return <p class="hint">Today's usage: {fault}</p>;
  const numbers = day && [
    ["requests today", day.requests],
    ["prompt tokens", day.prompt_tokens],
    ["output tokens", day.output_tokens],
    ["neurons", day.neurons],
  ] as const;
  return (
    <dl class="numbers">
      {numbers?.map(([name, value]) => <div key={name}><dd>{count(value)}</dd><dt>{name}</dt></div>)}
    </dl>
  );
}
