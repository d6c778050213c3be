// An operation of the API. Requests are checked against it, and the document is made of it.
import type { Readable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { z } from 'zod';
import type { ServiceError, ServiceErrorCode } from '../errors.js';
import type { Jobs } from '../jobs/jobs.js';
import type { Tenant } from '../records.js';
import type { Commands } from '../sandboxes/commands.js';
import type { Places } from '../sandboxes/places.js';
import type { Sandboxes } from '../sandboxes/sandboxes.js';
import type { Snapshots } from '../sandboxes/snapshots.js';
import type { Scope } from '../scope.js';
import type { SecretStore } from '../store/secret-store.js';
import type { Statistics } from '../store/statistics.js';
import type { TenantStore } from '../store/tenant-store.js';

/** A request whose key is known. */
export interface Call {
  tenant: Tenant;
  /** That of the key. */
  scope: Scope;
  tenants: Pick<TenantStore, 'find' | 'list'>;
  sandboxes: Sandboxes;
  snapshots: Snapshots;
  jobs: Jobs;
  places: Places;
  secrets: SecretStore;
  commands: Commands;
  statistics: Statistics;
  /** What the hosts of ports end with. Undefined: no ports are served. */
  domain?: string | undefined;
  /** The word in the place of `{id}`. */
  id: string;
  /** The header Idempotency-Key. */
  key?: string | undefined;
  /** The header Last-Event-ID. */
  lastEvent?: string | undefined;
  /** Milliseconds of silence until a stream of events has a comment. */
  beat: number;
  /** Milliseconds in which a reader takes no byte until its connection ends. */
  stall: number;
  /** What a caller is told of an error. */
  onFault: (error: unknown) => ServiceError;
  /** Aborted when the caller is gone. */
  signal: AbortSignal;
  /** The archive of a request. It breaks off with an error if it is too large or not complete. */
  archive: Readable;
}

/** Of an operation that names none. */
export const DEFAULT_SCOPE: Scope = 'submit';

interface Schemas {
  body?: z.ZodType;
  query?: z.ZodType;
}

export interface Route extends Schemas {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** `{id}` stands for the ID of a sandbox, snapshot or job, or the name of a secret or tenant. */
  path: string;
  operation: string;
  summary: string;
  /** What a key needs. Default: `submit` */
  scope?: Scope;
  /** True if the header Idempotency-Key counts. */
  isIdempotent?: boolean;
  status: number;
  /** What the answer is. Absent: it has no body, or is an archive. */
  answer?: z.ZodType;
  /** The request has a tar archive as its body, or the answer. */
  archive?: 'request' | 'answer';
  /** The answer has lines of JSON, each of which is this. */
  lines?: z.ZodType;
  /** The answer has server-sent events, whose data are these, by name. */
  events?: Readonly<Record<string, z.ZodType>>;
  /** The connection becomes a WebSocket. */
  socket?: {
    /** The first message of the client, and the last of the server. */
    first: z.ZodType;
    last: z.ZodType;
    /** Serves it, once `handle` has refused nothing. Never rejects. */
    serve(call: Call, socket: WebSocket): Promise<void>;
  };
  /** Problems beyond those of each operation. */
  problems: readonly ServiceErrorCode[];
  /**
   * Body and query are what the schemas made of the request. Returns what is sent as JSON, or an
   * archive, lines or events as a stream.
   */
  handle(call: Call, request: { body: unknown; query: unknown }): Promise<object | undefined>;
}

type Output<T> = T extends z.ZodType ? z.output<T> : undefined;
interface TypedRoute<Body, Query> extends Omit<Route, 'body' | 'query' | 'handle'> {
  body?: Body;
  query?: Query;
  handle(call: Call, request: { body: Output<Body>; query: Output<Query> }): Promise<object | undefined>;
}

/** Gives `handle` the types of its schemas, which the server has applied. */
export function route<Body extends z.ZodType | undefined = undefined, Query extends z.ZodType | undefined = undefined>(
  typed: TypedRoute<Body, Query>,
): Route {
  return typed as unknown as Route;
}
