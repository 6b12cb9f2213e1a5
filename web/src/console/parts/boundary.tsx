// A page that fails shows that it did, and leaves the frame around it standing.
import { Component, type ComponentChildren } from "preact";
import { Trouble } from "./basic.tsx";

export class Boundary extends Component<{ children: ComponentChildren }, { failed: Error | null }> {
  constructor() {
    super();
    this.state = { failed: null };
  }

  static override getDerivedStateFromError(error: unknown): { failed: Error } {
    return { failed: error instanceof Error ? error : new Error(String(error)) };
  }

  override componentDidCatch(error: unknown): void {
    console.error(error);
  }

  override render() {
    return this.state.failed === null ? this.props.children : <Trouble of={this.state.failed} />;
  }
}
