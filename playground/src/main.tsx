import { render } from "preact";
import { restore } from "./session";
import { Shell } from "./shell";

restore(); // first of all: it takes an API token out of the address
render(<Shell />, document.getElementById("app")!);
