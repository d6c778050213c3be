// The error type of the sandbox. Errors of images and machines (ImageError, MachineError) pass
// through.
import { hasCode, messageOf } from '../errors/index.js';

/** The kind of an error, for programs. */
export type SandboxErrorCode =
  /** A value of the run spec is out of range. */
  | 'bad-spec'
  /** The guest's kernel is missing, or its modules do not fit it. */
  | 'no-kernel'
  /** A file or folder of the state folder, a socket, or a disk cannot be made, read or written. */
  | 'state'
  /** The machine process ended without being asked to. */
  | 'machine-died'
  /** A record of the state folder is incomplete: the host went down before it was written. */
  | 'damaged'
  /** The home is full (`TSVM_HOME_SIZE`), or its disk is. */
  | 'no-space'
  /** A jail is required, and the host does not allow it. */
  | 'jail'
  /** This host has no machine with the isolation that the spec asks for. */
  | 'isolation'
  /** The cgroup of a machine cannot be made, used or removed. */
  | 'cgroup'
  /** The guest's agent did not say hello in time. */
  | 'boot-timeout'
  /** The container was suspended while something waited for its end. */
  | 'suspended'
  /** A machine cannot be saved, or a saved one cannot be continued. */
  | 'snapshot'
  /** The network that the spec asks for is not available. */
  | 'network'
  /** The guest's agent broke the protocol, or could not set the container up. */
  | 'agent'
  /** The command does not exist in the container. */
  | 'not-found'
  /** The command exists and cannot be executed. */
  | 'cannot-invoke'
  /** A signal or an `AbortSignal` ended the run before its process was started. */
  | 'aborted'
  /** No container has the name or ID. */
  | 'no-such-container'
  /** No volume has the name. */
  | 'no-such-volume'
  /** No network has the name or ID. */
  | 'no-such-network'
  /** No snapshot has the name. */
  | 'no-such-snapshot'
  /** No template has the name. */
  | 'no-such-template'
  /** The beginning of an ID fits more than one container, network or template. */
  | 'ambiguous'
  /** The name is taken, or the container, volume or network is in use. */
  | 'conflict'
  /** The container does not run, or is paused. */
  | 'not-running'
  /** The container runs. */
  | 'running'
  /**
   * The call is not possible in the present state of the machine. A fault of the calling program.
   */
  | 'wrong-state'
  /** A file in the container does not exist. */
  | 'no-such-file'
  /** An operation on files in the container failed for another reason. */
  | 'tool'
  /** A call took longer than its `timeout`. */
  | 'timeout'
  /** The guest did not answer a request in time, or a transfer stood still. */
  | 'unresponsive'
  /** A command or a guest's answer wrote more than the limit. */
  | 'output';

/** What could not be done to a file, and why: `no-space` if its disk is full, else `state`. */
export function fileError(what: string, cause: unknown): SandboxError {
  const code = hasCode(cause, 'ENOSPC', 'EDQUOT') ? 'no-space' : 'state';
  return new SandboxError(code, `${what}: ${messageOf(cause)}`, { cause });
}

/** An error of the sandbox. The message is one line that can be shown to a user. */
export class SandboxError extends Error {
  override readonly name = 'SandboxError';

  constructor(
    readonly code: SandboxErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
