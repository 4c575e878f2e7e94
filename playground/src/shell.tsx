/** What is around every page: navigation, theme, account, and the way to sign in. */
import { signal } from "@preact/signals";
import { BookOpen, CircleUser, Monitor, Moon, Sun } from "lucide";
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { AccountDialog } from "./account";
import { type Page, PAGES } from "./pages";
import { href, route, type Route } from "./router";
import { credentials } from "./session";
import { isHelpOpen, listenToKeys, ShortcutsDialog } from "./shortcuts";
import { SignIn } from "./sign-in";
import { nextTheme, theme } from "./theme";
import { Announcer } from "./ui/announce";
import { IconButton } from "./ui/button";
import { Icon } from "./ui/icon";

const isAccountOpen = signal(false);

export function Shell() {
  useEffect(listenToKeys, []);
  const page = PAGES.find(({ id }) => id === route.value.page) ?? PAGES[0]!;
  const isLocked = page.needsAccount && !credentials.value;
  useEffect(() => {
    document.title = `${page.title} · Sirocco`;
  }, [page]);
  return (
    <>
      <a class="skip-link" href="#main" onClick={skip}>Skip to the page</a>
      <Bar page={page} />
      <main id="main" tabIndex={-1}>{isLocked ? <SignIn /> : <Opened key={page.id} page={page} />}</main>
      {isAccountOpen.value && <AccountDialog onClose={() => (isAccountOpen.value = false)} />}
      {isHelpOpen.value && <ShortcutsDialog />}
      <Announcer />
    </>
  );
}

function Bar({ page }: { page: Page }) {
  const themes = { system: Monitor, light: Sun, dark: Moon };
  return (
    <header class="bar">
      <a class="wordmark" href={href(PAGES[0]!.id)} aria-label="Sirocco">
        <Wind />
        <span>Sirocco</span>
      </a>
      <nav aria-label="Pages">
        {PAGES.map(({ id, title }) => (
          <a key={id} href={href(id)} aria-current={id === page.id ? "page" : undefined}>{title}</a>
        ))}
      </nav>
      <div class="bar-end">
        <a class="icon-button wide-only" href="/docs" aria-label="API reference" title="API reference"><Icon of={BookOpen} /></a>
        <IconButton icon={themes[theme.value]} label={`Theme: ${theme.value}`} onClick={nextTheme} />
        {credentials.value && <IconButton icon={CircleUser} label="Account" onClick={() => (isAccountOpen.value = true)} />}
      </div>
    </header>
  );
}

export function Wind() {
  return (
    <svg class="wind" viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
      <path d="M5 11c5-4.2 9-4.2 13 0s6.5 3 9 .4" />
      <path d="M5 20.5c5-4.2 9-4.2 13 0s6.5 3 9 .4" />
    </svg>
  );
}

/** A page that is loaded when it is first shown. */
function Opened({ page }: { page: Page }) {
  const [Loaded, setLoaded] = useState<ComponentType<{ route: Route }> | null>(null);
  const [hasFailed, setFailed] = useState(false);
  useEffect(() => {
    page.load().then(
      (module) => setLoaded(() => module.default),
      () => setFailed(true),
    );
  }, []);
  if (hasFailed) return <p class="notice" role="alert">This page could not be loaded. Is the server still running?</p>;
  return Loaded && <Loaded route={route.value} />;
}

/** The fragment of an address names a page here, so a link within the page moves the focus itself. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")!.focus();
}
