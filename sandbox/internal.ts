// The API for the rooms of this project above the sandbox, such as the command line. It has the
// public API and more: the supervision of containers, the machine's client, and checks of single
// options.

export type {
  MachineStatistics,
  MachineTimes,
  MemoryStatistics,
  ProbeResult,
  RefusalReason,
} from '../vmm/machine.js';
export { givenParent as givenCgroupParent } from './cgroup/parent-name.js';
export { findPlace as findCgroupPlace } from './cgroup/place.js';
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
export { isRunning } from './home/container-record.js';
export type { ContainerEvent } from './home/event-log.js';
export { homeSize } from './home/home-size.js';
export { templateBudget } from './home/template-budget.js';
export { isAnonymous, volumeSize } from './home/volumes.js';
export * from './index.js';
export { defaultJailMode } from './jail-mode.js';
export { JAIL_PARTS, type JailReport } from './jail-report.js';
export type { Log } from './log.js';
export type { MachineClient } from './machine/machine-client.js';
export { canPing, readTscKhz } from './machine/outside.js';
export { probeMachine } from './machine/probe.js';
export { type Template, TemplateStore } from './machine/templates.js';
export { isBootName } from './run/kernel.js';
export { ptraceScope, whyNotUml } from './run/machine-choice.js';
export { makeTemplate, sizedShape } from './run/make-template.js';
export type { ExitStatus } from './run/run-options.js';
export { type Phase, Trace } from './run/trace.js';
export { isDeviceAccess } from './spec/devices.js';
export { MAX_CPUS } from './spec/limits.js';
export { eachPort, formatPort, parseExposed } from './spec/published-ports.js';
export { DEFAULT_MEMORY, MIN_MEMORY } from './spec/run-spec.js';
export { signalNumber } from './spec/signal-number.js';
export { type Supervised, type SuperviseOptions, Supervision } from './supervision/supervision.js';
export { type StartOptions, SupervisorProcess } from './supervision/supervisor-process.js';
