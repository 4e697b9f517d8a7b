/** What every measure works with. */
import type { Load } from "./load.js";
import type { Services } from "./services.js";
import type { Settings } from "./settings.js";

export interface Bench {
  readonly settings: Settings;
  readonly services: Services;
  readonly load: Load;
  /** Tells whoever waits how far it has come. */
  readonly progress: (text: string) => void;
  /** Notes for the report what could not be measured. */
  readonly failed: (what: string, error: unknown) => void;
}
