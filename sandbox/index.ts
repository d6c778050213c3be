// The door of the sandbox room, and the public surface for programs (`import ... from 'tsvm'`): sandboxes of a program's
// own, and containers, made, found, and told what to do.

export {
  type CommitOptions,
  type Extent,
  type Image,
  type ImageConfig,
  ImageError,
  type ImageErrorCode,
  type Progress,
  type PullPolicy,
} from '../images/index.js';
export {
  type Accelerator,
  type DiskRates,
  MachineError,
  type MachineErrorCode,
  type MachineStatistics,
  type MachineTimes,
  type MemoryStatistics,
  type ProbeResult,
  type PublishedPorts,
  type RefusalReason,
} from '../vmm/machine.js';
export type { Rlimit, TerminalSize, TmpfsMount } from './agent-protocol.js';
export type { Attachment } from './containers/attach.js';
export { connectContainer, disconnectContainer } from './containers/connect.js';
export { type CommitSpec, Container, type ContainerInfo, type ContainerStartOptions } from './containers/container.js';
export { type CopyOptions, copyIn, copyOut } from './containers/copy.js';
export type { CreateOptions } from './containers/create.js';
export { type ContainerEvent, readEvents } from './containers/events.js';
export type { Exec, ExecSpec } from './containers/exec.js';
export { type Change, ContainerFiles, type FileEvent, type FileInfo, type FileType } from './containers/files.js';
export { describeContainer } from './containers/inspect.js';
export type { LogEntry, LogStream } from './containers/log-file.js';
export type { ReadLogOptions } from './containers/log-reader.js';
export type {
  ContainerConfig,
  ContainerSpec,
  ContainerState,
  ContainerStatus,
  LogLimits,
  RestartPolicy,
} from './containers/record.js';
export { isRunning, STATUSES } from './containers/record.js';
export type { ProcessInfo, Usage } from './containers/report.js';
export { type Supervised, type SuperviseOptions, Supervision } from './containers/supervision.js';
export { type StartOptions, SupervisorProcess } from './containers/supervisor-process.js';
export { SandboxError, type SandboxErrorCode } from './errors.js';
export { tsvmHome } from './home.js';
export { MAX_CPUS } from './limits.js';
export type { Log } from './log.js';
export type { BindMount, Mount, VolumeMount } from './mounts.js';
export type { NetworkOptions } from './network.js';
export {
  createNetwork,
  findNetwork,
  listNetworks,
  type Network,
  networkMembers,
  networksOf,
  removeNetwork,
} from './networks.js';
export { probeMachine } from './probe.js';
export type { ContainerIo } from './process-io.js';
export { type BoundPort, type ExposedPort, eachPort, formatPort, parseExposed } from './published-ports.js';
export type { ExitStatus } from './run-options.js';
export { DEFAULT_MEMORY, type DeviceRate, MIN_MEMORY, type RunSpec } from './run-spec.js';
export {
  type ProcessOptions,
  type ProcessResult,
  Sandbox,
  type SandboxOptions,
  type SandboxProcess,
} from './sandbox.js';
export {
  type ArgumentCondition,
  parseSeccompProfile,
  type RuleFilter,
  type SeccompProfile,
  type SyscallRule,
  type Unsigned64,
} from './seccomp/profile.js';
export { signalNumber } from './signal-number.js';
export { endBetweenTurns, forwardSignals, SignalError } from './signals.js';
export { attachTerminal, type Foreground, terminalSize } from './terminal.js';
export { type Phase, Trace } from './trace.js';
export {
  findVolume,
  isAnonymous,
  listVolumes,
  makeAnonymousVolume,
  openVolume,
  removeVolume,
  sweepVolumes,
  type Volume,
  volumeSize,
  volumeUsers,
} from './volumes.js';
