import { connectRedis, ready } from "../../../dist/stores/redis.js";
import { redlockStore } from "../../../dist/stores/redlock.js";
import { protect } from "./kit.mjs";
import { handle, serve, services } from "./subject.mjs";

const clients = services.masters.map((url) => connectRedis(url));
await Promise.all(clients.map((client) => ready(client)));
const { safe, commands } = protect(redlockStore(clients, { onReport: () => {} }));
serve(safe.wrap(handle), { commands });
