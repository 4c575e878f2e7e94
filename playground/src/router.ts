/** Which page is shown: `#/chat`, or `#/plan?window=4096` with values of the page's own. */
import { computed, signal } from "@preact/signals";

export interface Route {
  readonly page: string;
  readonly query: URLSearchParams;
}

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  hash.value = location.hash;
});

export const route = computed<Route>(() => {
  const [path = "", query = ""] = hash.value.slice(1).split("?");
  return { page: path.replace(/^\//, ""), query: new URLSearchParams(query) };
});

export function href(page: string, query?: Record<string, string>): string {
  const values = new URLSearchParams(query).toString();
  return `#/${page}${values && `?${values}`}`;
}

export function go(page: string, query?: Record<string, string>): void {
  location.hash = href(page, query);
}

/** Puts a page's values into the address, without a step in the history: for sliders. */
export function replaceQuery(query: Record<string, string>): void {
  history.replaceState(null, "", href(route.peek().page, query));
  hash.value = location.hash;
}
