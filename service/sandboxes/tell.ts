// What a tenant is told of an error. Paths and states of the host are not for tenants: the
// administrator gets them.
import { codeOf, hasCode, messageOf } from '../../errors/index.js';
import { ServiceError } from '../errors.js';

/**
 * @param what what failed, for both
 * @param onFault called with an error that no code names
 */
export function tell(error: unknown, what: string, onFault: (message: string) => void): ServiceError {
  if (error instanceof ServiceError) return error;
  const options = { cause: error };
  if (hasCode(error, 'unknown-image')) return new ServiceError('no-image', 'no such image', options);
  if (hasCode(error, 'bad-spec')) return new ServiceError('bad-request', messageOf(error), options);
  if (hasCode(error, 'no-such-file')) return new ServiceError('no-file', messageOf(error), options);
  if (hasCode(error, 'tool')) return new ServiceError('files', messageOf(error), options);
  if (hasCode(error, 'not-found', 'cannot-invoke')) return new ServiceError('no-command', messageOf(error), options);
  if (hasCode(error, 'not-running', 'machine-died', 'no-such-container')) {
    return new ServiceError('not-running', 'it is not running', options);
  }
  if (hasCode(error, 'no-space')) return new ServiceError('no-room', 'the host has no room on its disk now', options);
  if (hasCode(error, 'unresponsive', 'timeout', 'boot-timeout') || isTimeout(error)) {
    return new ServiceError('unresponsive', 'it did not answer in time', options);
  }
  if (!isAbort(error)) onFault(`${what}: ${messageOf(error)}`);
  return new ServiceError('internal', `${what}: ${codeOf(error) ?? 'internal error'}`, options);
}

const isTimeout = (error: unknown): boolean => error instanceof Error && error.name === 'TimeoutError';
const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';
