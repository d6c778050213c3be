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
export type { ContainerIo } from './agent/process-io.js';
export type { Rlimit, TerminalSize, TmpfsMount } from './agent/protocol.js';
export type { Attachment } from './containers/attach.js';
export { connectContainer, disconnectContainer } from './containers/connect.js';
export { type CommitSpec, Container, type ContainerInfo, type ContainerStartOptions } from './containers/container.js';
export { type CopyOptions, copyIn, copyOut } from './containers/copy.js';
export type { CreateOptions } from './containers/create.js';
export type { Exec, ExecSpec } from './containers/exec.js';
export { type Change, ContainerFiles, type FileEvent, type FileInfo, type FileType } from './containers/files.js';
export { describeContainer } from './containers/inspect.js';
export type { ProcessInfo, Usage } from './containers/report.js';
export { SandboxError, type SandboxErrorCode } from './errors.js';
export { type ContainerEvent, readEvents } from './home/events.js';
export { Home, tsvmHome } from './home/home.js';
export type { LogEntry, LogStream } from './home/log-file.js';
export type { ReadLogOptions } from './home/log-reader.js';
export { type Network, type NetworkStore, networksOf } from './home/networks.js';
export type {
  ContainerConfig,
  ContainerSpec,
  ContainerState,
  ContainerStatus,
  LogLimits,
  RestartPolicy,
} from './home/record.js';
export { isRunning, STATUSES } from './home/record.js';
export { isAnonymous, type Volume, type VolumeStore, volumeSize } from './home/volumes.js';
export type { Log } from './log.js';
export { probeMachine } from './machine/probe.js';
export type { NetworkOptions } from './run/network.js';
export type { ExitStatus } from './run/run-options.js';
export { type Phase, Trace } from './run/trace.js';
export {
  type ProcessOptions,
  type ProcessResult,
  Sandbox,
  type SandboxOptions,
  type SandboxProcess,
} from './sandbox.js';
export { MAX_CPUS } from './spec/limits.js';
export type { BindMount, Mount, VolumeMount } from './spec/mounts.js';
export { type BoundPort, type ExposedPort, eachPort, formatPort, parseExposed } from './spec/published-ports.js';
export { DEFAULT_MEMORY, type DeviceRate, MIN_MEMORY, type RunSpec } from './spec/run-spec.js';
export {
  type ArgumentCondition,
  parseSeccompProfile,
  type RuleFilter,
  type SeccompProfile,
  type SyscallRule,
  type Unsigned64,
} from './spec/seccomp/profile.js';
export { signalNumber } from './spec/signal-number.js';
export { type Supervised, type SuperviseOptions, Supervision } from './supervision/supervision.js';
export { type StartOptions, SupervisorProcess } from './supervision/supervisor-process.js';
