// The audit log: one line of JSON for each request, those that are refused too. It has no key and no
// body.
import { join } from 'node:path';
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import pino from 'pino';
import type { Tenant } from '../records.js';

/** What the handlers of a request share. */
export interface Shared {
  Bindings: HttpBindings;
  Variables: {
    tenant?: Tenant;
    /** The sandbox that its token has opened, by E2B's API. */
    opened?: { tenant: Tenant; id: string };
    /** True if the connection speaks another protocol from now on. */
    isUpgraded?: true;
  };
}

/** The status of the answer. A connection that was upgraded has got its own. */
export function statusOf(context: Context<Shared>): number {
  return context.get('isUpgraded') ? 101 : context.res.status;
}

/** Characters of a path. */
const MAX_PATH = 1024;

/** Writes to `audit.log` in the data folder. */
export function audited(folder: string): MiddlewareHandler<Shared> {
  const destination = pino.destination({ dest: join(folder, 'audit.log'), append: true, sync: true, mode: 0o600 });
  const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  return async (context, next) => {
    const began = performance.now();
    const from = context.env.incoming.socket.remoteAddress;
    await next();
    const { method } = context.req;
    const path = context.req.path.slice(0, MAX_PATH);
    const milliseconds = Math.round(performance.now() - began);
    const tenant = context.get('tenant')?.name;
    log.info({ ...{ from, tenant, method, path }, status: statusOf(context), milliseconds });
  };
}
