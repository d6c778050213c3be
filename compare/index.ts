// The door of the room that compares levels of isolation.

export { changesBetween, isWorse, readReport } from './against.js';
export { compare } from './compare.js';
export { CompareError, type CompareErrorCode } from './errors.js';
export { LEVELS, levelsOf } from './levels/index.js';
export type { CompareOptions } from './options.js';
export { parseCpuList } from './pinning.js';
export { renderPage } from './render.js';
export { type Report, ReportSchema } from './report.js';
export { formatTable } from './table.js';
