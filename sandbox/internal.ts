// The API for the rooms of this project above the sandbox, such as the command line. It has the
// public API and more, such as checks of single options. What starts machines is in `machines.ts`:
// each command loads this file.

export type { MachineStatistics, MachineTimes, MemoryStatistics, RefusalReason } from '../vmm/machine.js';
export { givenParent as givenCgroupParent } from './cgroup/parent-name.js';
export {
  archiveFiles,
  type CopyOptions,
  copyArchive,
  copyIn,
  copyOut,
  EXTRACTED,
  extractArchive,
} from './containers/copy.js';
export { diskUsage as containerDiskUsage } from './containers/report.js';
export { HEALTH_STATUSES, healthStatus, isRunning } from './home/container-record.js';
export type { ContainerEvent } from './home/event-log.js';
export { homeSize } from './home/home-size.js';
export { isAnonymous, volumeSize } from './home/volumes.js';
export * from './index.js';
export { defaultJailMode } from './jail-mode.js';
export type { Log } from './log.js';
export type { MachineClient } from './machine/machine-client.js';
export type { ExitStatus } from './run/run-options.js';
export { type Phase, Trace } from './run/trace.js';
export { isDeviceAccess } from './spec/devices.js';
export { MAX_CPUS } from './spec/limits.js';
export { eachPort, formatPort, parseExposed } from './spec/published-ports.js';
export { DEFAULT_MEMORY, MIN_MEMORY } from './spec/run-spec.js';
export { signalNumber } from './spec/signal-number.js';
export type { Supervised, SuperviseOptions } from './supervision/supervision.js';
export { type StartOptions, SupervisorProcess } from './supervision/supervisor-process.js';
