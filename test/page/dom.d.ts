// Playwright's types name these of the browser's; the project has no use for the rest of them.
interface Node {}
interface HTMLElement {}
interface SVGElement {}
interface HTMLElementTagNameMap {}
