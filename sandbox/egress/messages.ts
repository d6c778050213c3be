// What the owner of a proxy of placeholders and the proxy tell each other: lines of JSON.
import type { Audit, Placeholder, Upstream } from '../spec/secrets.js';
import type { Announced } from './admission.js';
import type { Certificates } from './proxy.js';

/** The first is `serve`. Each further one is about one connection. */
export type EgressOrder =
  | { type: 'serve'; placeholders: readonly Placeholder[]; upstream?: Upstream | undefined; audit?: Audit | undefined }
  | ({ type: 'connection' } & Announced);

/** The answer to `serve`. */
export type EgressReply =
  /** It listens at this port of the loopback interface. */
  { type: 'listening'; port: number; certificates: Certificates } | { type: 'failed'; reason: string };
