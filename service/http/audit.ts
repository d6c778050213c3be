// The audit log: one line of JSON for each request, those that are refused too. It has no key and no
// body.
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import pino from 'pino';
import type { Tenant } from '../records.js';
import { auditPath } from '../sandboxes/container.js';
import type { Scope } from '../scope.js';
import type { NamedPort } from './port-host.js';

/** What the handlers of a request share. */
export interface Shared {
  Bindings: HttpBindings;
  Variables: {
    tenant?: Tenant;
    /** That of the key, for operations of the API. */
    scope?: Scope;
    /** The sandbox that its token has opened, by E2B's API. */
    opened?: { tenant: Tenant; id: string };
    /** The port of a sandbox that the request is for. */
    port?: NamedPort;
    /**
     * The status of an answer that is sent already. 101: the connection speaks another protocol.
     */
    sent?: number;
  };
}

/**
 * A request has shown whose it is: its connection is counted as that tenant's, and the request too.
 * @param of `ports` for a visitor of the tenant's ports, whose connections are counted apart
 * @throws ServiceError `rate`
 */
export type TakeTenant = (context: Context<Shared>, tenant: Tenant, of?: 'ports') => void;

/** The status of the answer. */
export function statusOf(context: Context<Shared>): number {
  return context.get('sent') ?? context.res.status;
}

/** Characters of a path. */
const MAX_PATH = 1024;

/** Writes to `audit.log` in the data folder. */
export function audited(folder: string): MiddlewareHandler<Shared> {
  const destination = pino.destination({ dest: auditPath(folder), append: true, sync: true, mode: 0o600 });
  const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  return async (context, next) => {
    const began = performance.now();
    const from = context.env.incoming.socket.remoteAddress;
    await next();
    const { method } = context.req;
    const path = context.req.path.slice(0, MAX_PATH);
    const milliseconds = Math.round(performance.now() - began);
    const tenant = context.get('tenant')?.name;
    const { id: sandbox, port } = context.get('port') ?? {};
    log.info({ ...{ from, tenant, sandbox, port, method, path }, status: statusOf(context), milliseconds });
  };
}
