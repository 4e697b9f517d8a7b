import { withLocalCache } from "../../../dist/stores/local-cache.js";
import { connectRedis, ready, redisStore } from "../../../dist/stores/redis.js";
import { protect } from "./kit.mjs";
import { handle, serve, services } from "./subject.mjs";

const client = connectRedis(services.redis);
await ready(client);
const { safe, commands } = protect(withLocalCache(redisStore(client, { onReport: () => {} })));
serve(safe.wrap(handle), { commands });
