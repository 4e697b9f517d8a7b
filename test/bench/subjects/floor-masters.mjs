import { Redis } from "ioredis";
import { floor } from "./floor.mjs";
import { handle, serve, services, TTL_MS } from "./subject.mjs";

const masters = services.masters.map((url) => new Redis(url));
const MAJORITY = (masters.length + 1) / 2;

/** A claim hears every master; what most of them hold is stored, and sent as soon as they said so. */
function claim(key) {
  return new Promise((resolve) => {
    let heard = 0;
    let stored = 0;
    for (const redis of masters) {
      redis.setBuffer(key, "L", "PX", 10_000, "NX", "GET").then((found) => {
        if (found && ++stored === MAJORITY) resolve(found);
        else if (++heard === masters.length) resolve();
      });
    }
  });
}

function store(key, body) {
  return new Promise((resolve) => {
    let stored = 0;
    for (const redis of masters) {
      redis.set(key, body, "PX", TTL_MS).then(() => {
        if (++stored === MAJORITY) resolve();
      });
    }
  });
}

serve(floor(claim, store, handle));
