// Connect, the protocol of E2B's daemon, as far as JSON goes: https://connectrpc.com/docs/protocol.
// A unary call has JSON as its body. A stream has envelopes: a byte of flags, four of the size, JSON.
import type { ServiceErrorCode } from '../../errors.js';
import { ServiceError } from '../../errors.js';

/** Bytes before each message of a stream. */
const HEAD = 5;
const COMPRESSED = 1;
const END = 2;

/** Its names of errors, and their statuses in unary answers. */
const STATUSES = {
  invalid_argument: 400,
  failed_precondition: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  already_exists: 409,
  resource_exhausted: 429,
  internal: 500,
  unimplemented: 501,
  unavailable: 503,
  deadline_exceeded: 504,
} as const;
export type ConnectCode = keyof typeof STATUSES;

const CODES: Readonly<Record<ServiceErrorCode, ConnectCode>> = {
  'bad-request': 'invalid_argument',
  'no-image': 'invalid_argument',
  'no-command': 'invalid_argument',
  'no-secret': 'invalid_argument',
  files: 'invalid_argument',
  'not-json': 'invalid_argument',
  'no-file': 'not_found',
  'not-found': 'not_found',
  unauthorized: 'unauthenticated',
  forbidden: 'permission_denied',
  conflict: 'already_exists',
  'not-running': 'unavailable',
  'too-large': 'resource_exhausted',
  quota: 'resource_exhausted',
  rate: 'resource_exhausted',
  internal: 'internal',
  'no-room': 'unavailable',
  'no-port': 'unavailable',
  unresponsive: 'deadline_exceeded',
};

/** An error of the protocol that no code of the service names. */
export class ConnectError extends Error {
  constructor(
    readonly code: ConnectCode,
    message: string,
  ) {
    super(message);
  }
}

function told(error: ServiceError | ConnectError): { code: ConnectCode; message: string } {
  return { code: error instanceof ServiceError ? CODES[error.code] : error.code, message: error.message };
}

/** The answer to a unary call that failed. */
export function errorAnswer(error: ServiceError | ConnectError): Response {
  const { code, message } = told(error);
  return Response.json({ code, message }, { status: STATUSES[code] });
}

/** A message of a stream. */
export function envelope(message: object, flags = 0): Buffer {
  const text = Buffer.from(JSON.stringify(message));
  const bytes = Buffer.alloc(HEAD + text.length);
  bytes.writeUInt8(flags, 0);
  bytes.writeUInt32BE(text.length, 1);
  text.copy(bytes, HEAD);
  return bytes;
}

/** The end of a stream. */
export function endEnvelope(error?: ServiceError | ConnectError): Buffer {
  return envelope(error === undefined ? {} : { error: told(error) }, END);
}

/** The one message of a request for a stream. @throws ServiceError `bad-request` */
export function openEnvelope(bytes: Buffer): string {
  if (bytes.length < HEAD) throw new ServiceError('bad-request', 'body: an envelope of 5 bytes and more is needed');
  const flags = bytes.readUInt8(0);
  if (flags === COMPRESSED) throw new ServiceError('bad-request', 'body: compression is not taken');
  if (flags !== 0) throw new ServiceError('bad-request', `body: unknown flags ${flags}`);
  const size = bytes.readUInt32BE(1);
  if (size !== bytes.length - HEAD) {
    throw new ServiceError('bad-request', `body: its envelope says ${size} bytes, and ${bytes.length - HEAD} follow`);
  }
  return bytes.subarray(HEAD).toString('utf8');
}

/** Milliseconds from `Connect-Timeout-Ms`. Undefined: none. @throws ServiceError `bad-request` */
export function timeoutOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  if (!/^\d{1,10}$/.test(header))
    throw new ServiceError('bad-request', 'Connect-Timeout-Ms: 1 to 10 digits are needed');
  return Number(header) === 0 ? undefined : Number(header);
}
