/** No idempotency at all. */
import { handle, serve } from "./subject.mjs";

serve(handle);
