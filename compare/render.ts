// Renders the page. Its code is a file of its own in dist/, because the library of its plots is half
// as large as the whole command.
import { createRequire } from 'node:module';
import { builtFile } from '../installation/index.js';
import type { Report } from './report.js';

/** The report as one page of HTML. */
export function renderPage(report: Report): string {
  const { page } = createRequire(import.meta.url)(builtFile('compare-page.cjs')) as typeof import('./page/page.js');
  return page(report);
}
