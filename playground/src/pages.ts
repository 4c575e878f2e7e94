/** The pages, in the order of the navigation. Each is loaded when it is first opened. */
import type { ComponentType } from "preact";
import type { Route } from "./router";

export interface Page {
  /** Its name in the address: `#/chat`. */
  readonly id: string;
  /** In the navigation and the window's title. */
  readonly title: string;
  /** Whether it asks the server, so that somebody has to be signed in. */
  readonly needsAccount: boolean;
  readonly load: () => Promise<{ default: ComponentType<{ route: Route }> }>;
}

export const PAGES: readonly Page[] = [
  { id: "chat", title: "Chat", needsAccount: true, load: () => import("./pages/chat") },
  { id: "inside", title: "Inside", needsAccount: true, load: () => import("./pages/inside") },
  { id: "plan", title: "Plan", needsAccount: true, load: () => import("./pages/plan") },
];
