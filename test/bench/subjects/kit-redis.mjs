import { connectRedis, ready, redisStore } from "../../../dist/stores/redis.js";
import { protect } from "./kit.mjs";
import { handle, serve, services } from "./subject.mjs";

const client = connectRedis(services.redis);
await ready(client);
const { safe, commands } = protect(redisStore(client, { onReport: () => {} }));
serve(safe.wrap(handle), { commands });
