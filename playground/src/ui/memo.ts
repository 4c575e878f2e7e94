/** A component that is drawn anew only when its properties have changed. */
import { Component, type ComponentType, type FunctionComponent, h } from "preact";

export function memo<P extends object>(
  drawn: FunctionComponent<P>,
  isSame: (one: P, other: P) => boolean,
): ComponentType<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      return !isSame(this.props as P, next);
    }
    override render() {
      return h(drawn, this.props as never);
    }
  };
}
