// The error type of the service. Each is an answer: its code decides the HTTP status.

/** The kind of an error, for programs. */
export type ServiceErrorCode =
  /** The request is not what the API describes, or a value is out of range. */
  | 'bad-request'
  /** The key is missing, unknown or revoked. */
  | 'unauthorized'
  /** The key's scope does not allow it. */
  | 'forbidden'
  /** The tenant has no such thing, or there is no such path. */
  | 'not-found'
  /** The name or key is taken, or the state does not allow it. */
  | 'conflict'
  /** The sandbox does not run. */
  | 'not-running'
  /** The body has too many bytes. */
  | 'too-large'
  /** The body is not JSON. */
  | 'not-json'
  /** The tenant has no image of this name. */
  | 'no-image'
  /** The tenant has no secret of this name, or it cannot be read. */
  | 'no-secret'
  /** The program of a command does not exist in the sandbox, or cannot be executed. */
  | 'no-command'
  /** A file does not exist in the sandbox. */
  | 'no-file'
  /** Files cannot be read or written there, or the archive is none. */
  | 'files'
  /** The tenant's share does not hold it. */
  | 'quota'
  /** The caller asks too often. */
  | 'rate'
  /** The host does not hold it now. */
  | 'no-room'
  /** Nothing listens at the port of the sandbox, or it does not speak HTTP/1.1. */
  | 'no-port'
  /** The sandbox does not answer. */
  | 'unresponsive'
  /** The data folder or the host failed. */
  | 'internal';

/** An error of the service. The message is one line that a tenant may read. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  /** Seconds after which another request may succeed, if that is known. */
  readonly retryAfter: number | undefined;

  constructor(
    readonly code: ServiceErrorCode,
    message: string,
    { retryAfter, ...options }: ErrorOptions & { retryAfter?: number } = {},
  ) {
    super(message, options);
    this.retryAfter = retryAfter;
  }
}
