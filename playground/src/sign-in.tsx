/** The door: an account id and an API token, checked before they are kept. */
import { useState } from "preact/hooks";
import { API_PREFIX, type ApiError, getResult } from "./api";
import { signIn } from "./session";

const IN_FORM = "0123456789abcdef0123456789abcdef";

export function SignIn() {
  const [fault, setFault] = useState<string | null>(null);
  const [isChecking, setChecking] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const apiToken = String(form.get("api_token")).trim();
    setChecking(true);
    setFault(null);
    try {
      const accountId = String(form.get("account_id")).trim() || (await accountOf(apiToken));
      const found = { accountId, apiToken };
      await getResult(`${API_PREFIX}/accounts/${encodeURIComponent(accountId)}/tokens/verify`, found);
      signIn(found, form.has("remember"));
    } catch (error) {
      setFault(sentence(error as ApiError));
      setChecking(false);
    }
  };
  return (
    <div class="sign-in">
      <form class="card" onSubmit={submit}>
        <h1>Your own Workers&nbsp;AI</h1>
        <p class="lead">Sign in with what <code>sirocco serve</code> printed when it first started, or open the link in that terminal.</p>
        <label>
          API token
          <input name="api_token" type="password" required autocomplete="current-password" spellcheck={false} />
        </label>
        <label>
          <span>Account id <span class="hint">· if left empty, it is asked for</span></span>
          <input name="account_id" pattern="\s*[0-9a-f]{32}\s*" placeholder={IN_FORM} title="32 of the characters 0-9 and a-f" autocomplete="username" autocapitalize="none" spellcheck={false} />
        </label>
        <label class="check"><input name="remember" type="checkbox" /> Stay signed in on this browser</label>
        {fault && <p class="fault" role="alert">{fault}</p>}
        <button class="button primary" disabled={isChecking}>{isChecking ? "Checking …" : "Sign in"}</button>
        <p class="hint">No API token? <code>sirocco tokens create</code> makes one.</p>
      </form>
    </div>
  );
}

async function accountOf(apiToken: string): Promise<string> {
  const accounts = await getResult<{ id: string }[]>(`${API_PREFIX}/accounts`, { accountId: "", apiToken });
  return accounts[0]!.id;
}

function sentence(error: ApiError): string {
  if (error.status === 401) return "This API token is not good for this account.";
  if (error.status === 403) return "This API token may not look up its account: give the account id, too.";
  if (error.status === 400) return "This is not an API token: it has 40 letters, digits, - and _.";
  return error.message;
}
