import { defineConfig } from 'vitest/config';

/** Files at once: a tenth of the time of these lanes passes with waiting. */
const WAITING = { maxWorkers: 3 };
/** One file for each core. More at once would only make the emulated machines' clocks jumpy. */
const BUSY = { maxWorkers: 2 };

/** Milliseconds, for hosts that other work keeps busy. */
const patience = (milliseconds: number) => ({
  testTimeout: milliseconds,
  hookTimeout: milliseconds,
  // Less than that, so that a test says what it waited for.
  expect: { poll: { timeout: milliseconds / 2 } },
});

// Node.js 20 parses these certificates at each start, which takes longer than a short command does.
// No test talks to a server outside.
delete process.env.NODE_EXTRA_CA_CERTS;

// The lanes. test/run.mjs has the same patterns, and what each lane needs.
export default defineConfig({
  test: {
    reporters: ['default', './test/count-reporter.ts'],
    // The message of a failure has the values whole: it may be all that is kept of a run.
    chaiConfig: { truncateThreshold: 2000 },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          exclude: ['test/unit/**/*.host.test.ts'],
          // The files of one worker share its modules. That takes a third less CPU time than one
          // process per file.
          isolate: false,
          setupFiles: ['test/setup.ts'],
          ...WAITING,
          ...patience(300_000),
        },
      },
      { test: { name: 'host', include: ['test/unit/**/*.host.test.ts'], ...WAITING, ...patience(300_000) } },
      { test: { name: 'kvm', include: ['test/kvm/**/*.test.ts'], ...WAITING, ...patience(60_000) } },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: ['test/e2e/global-setup.ts'],
          ...BUSY,
          // Where there is KVM, tests boot their machines, and leave no process that makes templates.
          env: { TSVM_TEMPLATES_SIZE: '0' },
          // On a busy host the lab is ten times slower than on an idle one.
          ...patience(600_000),
          // After all other lanes: they would take the emulated CPUs' time.
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
