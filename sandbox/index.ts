// The public API (`import ... from 'tsvm'`): sandboxes, containers, homes, errors, and their types.
// Rooms of this project import `internal.ts`.

export {
  type CommitOptions,
  type ImageConfig,
  ImageError,
  type ImageErrorCode,
  type ImageHealthcheck,
  type Progress,
  type PullPolicy,
  type Pushed,
  type PushOptions,
  type PushProgress,
} from '../images/index.js';
export type { ArgumentCondition, RuleFilter, SeccompProfile, SyscallRule, Unsigned64 } from '../seccomp/profile.js';
export {
  type Accelerator,
  type DiskRates,
  MachineError,
  type MachineErrorCode,
  type PublishedPorts,
} from '../vmm/machine.js';
export type { CallOptions } from './abort.js';
export type { ContainerIo } from './agent/process-io.js';
export type { Rlimit, TerminalSize, TmpfsMount } from './agent/protocol.js';
export type { Attachment } from './containers/attach.js';
export type { CloneOptions } from './containers/clone.js';
export {
  type CommitSpec,
  Container,
  type ContainerInfo,
  type ContainerStartOptions,
  type StopOptions,
} from './containers/container.js';
export type { CreateOptions } from './containers/create.js';
export type { Exec, ExecOptions, ExecSpec } from './containers/exec.js';
export type { Change, ContainerFiles, FileEvent, FileInfo, FileType } from './containers/files.js';
export type { ProcessInfo, Usage } from './containers/report.js';
export { SandboxError, type SandboxErrorCode } from './errors.js';
export type {
  ContainerConfig,
  ContainerState,
  ContainerStatus,
  Health,
  HealthResult,
  HealthStatus,
} from './home/container-record.js';
export { STATUSES } from './home/container-record.js';
export { Home } from './home/home.js';
export type { LogEntry, LogStream } from './home/log-file.js';
export type { ReadLogOptions } from './home/log-reader.js';
export type { Network, NetworkStore } from './home/networks.js';
export type { VolumeUse } from './home/volume-count.js';
export type { Volume, VolumeContents, VolumeStore } from './home/volumes.js';
export type { Isolation } from './isolation.js';
export type { JailMode } from './jail-mode.js';
export type { JailMeans, JailReport } from './jail-report.js';
export type { Fallback } from './run/run-options.js';
export {
  type ProcessOptions,
  type ProcessResult,
  type RestoreOptions,
  type RunCommandOptions,
  Sandbox,
  type SandboxOptions,
  type SandboxProcess,
} from './sandbox.js';
export { type Snapshot, SnapshotStore } from './snapshots/snapshot-store.js';
export type { ContainerSpec, LogLimits, RestartPolicy } from './spec/container-spec.js';
export type { Device } from './spec/devices.js';
export type { HealthCheck, HealthOptions } from './spec/health.js';
export type { BindMount, Mount, SourceFile, VolumeBounds, VolumeMount } from './spec/mounts.js';
export type { NetworkOptions } from './spec/network.js';
export type { BoundPort, ExposedPort } from './spec/published-ports.js';
export type { DeviceRate, Environment, RunSpec } from './spec/run-spec.js';
export { parseSeccompProfile } from './spec/seccomp/profile.js';
export type { Audit, Placeholder, Secrets, Upstream } from './spec/secrets.js';
export type { Signal } from './spec/signal-number.js';
export type { StartOptions } from './supervision/supervisor-process.js';
