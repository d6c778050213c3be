// What the server tells of itself, in the text format of Prometheus, on an address of its own: tenants
// are not to read it. Labels have few values: routes, statuses, and the tenants that there are.
import { createServer } from 'node:http';
import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { messageOf } from '../../errors/index.js';
import type { JobReason } from '../job.js';
import type { Resources, Tenant } from '../records.js';
import type { Statistics } from '../store/statistics.js';
import type { TenantStore } from '../store/tenant-store.js';
import { type Shared, statusOf } from './audit.js';
import { type Address, listen } from './listen.js';

const PATH = '/metrics';
/** Connections of those who read. */
const MAX_CONNECTIONS = 16;
const TIMEOUT = 10_000;
/** The route of a request for a path that there is not. */
const NO_ROUTE = 'none';
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export interface MetricsParts {
  tenants: TenantStore;
  statistics: Statistics;
  /** What all sandboxes and jobs together may hold. */
  host: Resources;
}

type Sample = [labels: Record<string, string>, value: number];

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'method' | 'route' | 'status'>;
  readonly #seconds: Histogram<'method' | 'route'>;
  readonly #ended: Counter<'tenant' | 'reason'>;

  constructor({ tenants, statistics, host }: MetricsParts) {
    const registers = [this.#registry];
    this.#requests = new Counter({
      ...{ name: 'tsvm_http_requests_total', help: 'Requests that were answered, those that were refused too' },
      ...{ labelNames: ['method', 'route', 'status'], registers },
    });
    this.#seconds = new Histogram({
      ...{ name: 'tsvm_http_request_duration_seconds', help: 'Seconds until the answer of a request began' },
      ...{ labelNames: ['method', 'route'], buckets: SECONDS, registers },
    });
    this.#ended = new Counter({
      ...{ name: 'tsvm_jobs_ended_total', help: 'Jobs that have ended since the server began, by why' },
      ...{ labelNames: ['tenant', 'reason'], registers },
    });
    const gauge = (name: string, help: string, labelNames: string[], read: () => Sample[]) => {
      const made: Gauge = new Gauge({
        ...{ name, help, labelNames, registers },
        collect: () => {
          // Of a tenant that is removed, nothing is told.
          made.reset();
          for (const [labels, value] of read()) made.set(labels, value);
        },
      });
    };
    for (const kind of ['jobs', 'sandboxes'] as const) {
      const read = () => {
        const names = tenants.list().map(({ name }) => name);
        return statistics.alive(kind, names).map(({ tenant, status, count }): Sample => [{ tenant, status }, count]);
      };
      gauge(`tsvm_${kind}`, `The ${kind} that have not ended, by status`, ['tenant', 'status'], read);
    }
    const ofTenants = (read: (tenant: Tenant) => number) => () =>
      tenants.list().map((tenant): Sample => [{ tenant: tenant.name }, read(tenant)]);
    const snapshots = ofTenants((tenant) => statistics.snapshots(tenant.name));
    gauge('tsvm_snapshots', 'The snapshots of sandboxes', ['tenant'], snapshots);
    for (const [name, what, of] of RESOURCES) {
      const reserved = ofTenants((tenant) => of(statistics.held(tenant.name)));
      gauge(`tsvm_reserved_${name}`, `${what} that sandboxes, their snapshots and jobs hold`, ['tenant'], reserved);
      gauge(`tsvm_tenant_limit_${name}`, `${what} of the tenant's share`, ['tenant'], ofTenants(of));
      gauge(`tsvm_limit_${name}`, `${what} that all tenants together may hold`, [], () => [[{}, of(host)]]);
    }
    collectDefaultMetrics({ register: this.#registry });
  }

  /** Counts requests. */
  counted(): MiddlewareHandler<Shared> {
    return async (context, next) => {
      const began = performance.now();
      await next();
      const { method } = context.req;
      const route = matchedRoutes(context).findLast(({ path }) => !path.includes('*'))?.path ?? NO_ROUTE;
      this.#requests.inc({ method, route, status: String(statusOf(context)) });
      this.#seconds.observe({ method, route }, (performance.now() - began) / 1000);
    };
  }

  /** A job has ended. */
  jobEnded(tenant: string, reason: JobReason): void {
    this.#ended.inc({ tenant, reason });
  }

  get type(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

const RESOURCES: readonly [name: string, what: string, of: (resources: Resources) => number][] = [
  ['cpus', 'CPUs', ({ cpus }) => cpus],
  ['memory_bytes', 'Bytes of memory', ({ memory }) => memory],
  ['disk_bytes', 'Bytes of writable layers', ({ disk }) => disk],
];

export interface MetricsServer {
  /** `http://127.0.0.1:9090/metrics` */
  url: string;
  close(): void;
}

/**
 * Serves the metrics to whoever reaches the address.
 * @throws an error with the errno of listen(2)
 */
export async function serveMetrics(
  address: Address,
  metrics: Metrics,
  onFault: (message: string) => void,
): Promise<MetricsServer> {
  const options = { headersTimeout: TIMEOUT, requestTimeout: TIMEOUT };
  const server = createServer(options, async ({ method, url }, answer) => {
    const isRead = (method === 'GET' || method === 'HEAD') && url?.split('?')[0] === PATH;
    if (!isRead) return answer.writeHead(404, { 'Content-Type': 'text/plain' }).end(`GET ${PATH}\n`);
    try {
      const text = await metrics.text();
      return answer.writeHead(200, { 'Content-Type': metrics.type }).end(text);
    } catch (error) {
      onFault(`the metrics: ${messageOf(error)}`);
      return answer.writeHead(500).end();
    }
  });
  server.maxConnections = MAX_CONNECTIONS;
  const url = await listen(server, address);
  return {
    url: `${url}${PATH}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
