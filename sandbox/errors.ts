// The one error type of this room. Images and machines have their own (ImageError, MachineError) and pass through.

/**
 * What went wrong, for a program to act on:
 * `bad-spec` a word of the run spec is out of range; `no-kernel` no guest kernel is built; `state` the state folder
 * or the scratch disk cannot be made; `machine-died` the machine process ended unasked; `boot-timeout` the guest never
 * said hello; `network` the network cannot be had as asked for; `agent` the guest broke the protocol or could not set the container up; `not-found` and `cannot-invoke`
 * the command is missing or cannot be executed; `aborted` a signal ended the run before its process was started;
 * `no-such-container`, `ambiguous`, `conflict`, `not-running` and `running` say of a container that was named that there
 * is none, that there are several, that its name or it is taken, and that it is in the wrong state; `no-such-volume` and
 * `conflict` of a volume that there is none, and that a container has it; `no-such-file` and `tool` that what was to be
 * done with files in a container failed for want of the file, or for another
 * reason; `timeout` that a command took too long.
 */
export type SandboxErrorCode =
  | 'bad-spec'
  | 'no-kernel'
  | 'state'
  | 'machine-died'
  | 'boot-timeout'
  | 'network'
  | 'agent'
  | 'not-found'
  | 'cannot-invoke'
  | 'aborted'
  | 'no-such-container'
  | 'no-such-volume'
  | 'no-such-network'
  | 'ambiguous'
  | 'conflict'
  | 'not-running'
  | 'running'
  | 'no-such-file'
  | 'tool'
  | 'timeout';

/** A container could not be run. The message is one line, fit to be shown as it is. */
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
