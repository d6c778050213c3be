// The second door for the rooms of this project above the sandbox: what starts machines in this
// process, and what the host has for them. It takes longer to load than all else of `internal.ts`,
// and most commands ask a supervisor that runs.
export type { ProbeResult } from '../vmm/machine.js';
export { findPlace as findCgroupPlace } from './cgroup/place.js';
export { templateBudget } from './home/template-budget.js';
export { JAIL_PARTS, type JailReport } from './jail-report.js';
export { canPing, readTscKhz } from './machine/outside.js';
export { probeMachine } from './machine/probe.js';
export { type Template, TemplateStore } from './machine/templates.js';
export { MACHINE_PROGRAM, TEMPLATE_PROGRAM } from './programs.js';
export { isBootName } from './run/kernel.js';
export { ptraceScope, whyNotUml } from './run/machine-choice.js';
export { makeTemplate, sizedShape } from './run/make-template.js';
export { Supervision } from './supervision/supervision.js';
