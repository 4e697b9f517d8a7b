import { memoryStore } from "../../../dist/stores/memory.js";
import { protect } from "./kit.mjs";
import { handle, serve } from "./subject.mjs";

// Room for what a run stores: evicting would be another benchmark.
const store = memoryStore({ maxEntries: 4_000_000, maxBytes: 4 * 2 ** 30, onEvict: () => {} });
const { safe, commands } = protect(store);
serve(safe.wrap(handle), { commands });
