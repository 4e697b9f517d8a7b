import { createClient } from "@redis/client";
import { CachePersistenceLayer } from "@aws-lambda-powertools/idempotency/cache";
import { powertools } from "./powertools.mjs";
import { serve, services } from "./subject.mjs";

const client = await createClient({ url: services.redis }).connect();
serve(powertools(new CachePersistenceLayer({ client })));
