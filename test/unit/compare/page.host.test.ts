// The page of a report in Chromium: it fits a phone and a desktop, in light and dark, loads nothing,
// and the browser has nothing to say about it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { renderPage } from '../../../compare/index.js';
import { lookAt } from '../../fixtures/browser.js';
import { report } from '../../fixtures/compare-report.js';

let folder: string;
let path: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  path = join(folder, 'report.html');
  writeFileSync(path, renderPage(report));
});

afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  [390, 'light', 'rgb(251, 251, 250)'],
  [390, 'dark', 'rgb(17, 19, 21)'],
  [1280, 'light', 'rgb(251, 251, 250)'],
] as const)('at %i pixels in %s nothing overflows, and the console is empty', async (width, scheme, background) => {
  const { png, ...look } = await lookAt(path, width, scheme);
  expect(look).toEqual({ scrollWidth: look.width, width: look.width, overflowing: [], messages: [], background });
  // A desktop may show a scroll bar.
  expect(look.width).toBeGreaterThan(width - 20);
  expect(png.length).toBeGreaterThan(1000);
});

test('the browser is asked well: a page that overflows, logs and loads is found out', async () => {
  const bad = join(folder, 'bad.html');
  const script = '<script>console.error("no")</script><img src="missing.png">';
  writeFileSync(bad, `<meta name="viewport" content="width=device-width"><p style="width:900px">${script}</p>`);
  const { scrollWidth, overflowing, messages } = await lookAt(bad, 390, 'light');
  expect(scrollWidth).toBeGreaterThan(390);
  expect(overflowing).toContain('P.');
  expect(messages.join('\n')).toContain('"no"');
  expect(messages.join('\n')).toContain('missing.png');
});

test('text of a report is text on the page, whatever it has', () => {
  const hostile = { ...report, image: { ...report.image, name: '<script>alert(1)</script>' } };
  const html = renderPage(hostile);
  expect(html).not.toContain('<script');
  expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
  expect(html).toContain('a chroot: no wall to the host');
  expect(html).toContain('Cost against surface');
});
