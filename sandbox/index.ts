// The door of the sandbox room, and the public surface for programs: a run spec in, an exit status out.

export type { Rlimit, TerminalSize, TmpfsMount } from './agent-protocol.js';
export { SandboxError, type SandboxErrorCode } from './errors.js';
export { tsvmHome } from './home.js';
export { MAX_CPUS } from './limits.js';
export type { Log } from './log.js';
export type { BindMount, Mount, VolumeMount } from './mounts.js';
export { probeMachine } from './probe.js';
export type { ContainerIo } from './process-io.js';
export { ContainerRun, type ExitStatus, type RunOptions, runContainer } from './run.js';
export { DEFAULT_MEMORY, MIN_MEMORY, type RunSpec } from './run-spec.js';
export { parseSeccompProfile, type SeccompProfile } from './seccomp/profile.js';
export { forwardSignals, SignalError } from './signals.js';
export { attachTerminal, terminalSize } from './terminal.js';
export { Trace } from './trace.js';
