// Says how many tests passed and failed: as a line of the file that `test/run.mjs` names, which
// prints the sum of its runs, or as the last line of the run.
import { appendFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    let passed = 0;
    let failed = unhandledErrors.length;
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      passed += tests.filter((test) => test.result().state === 'passed').length;
      failed += tests.filter((test) => test.result().state === 'failed').length;
      // A file that failed to load has no tests: it counts as one failure.
      if (tests.length === 0 || module.errors().length > 0) failed += 1;
    }
    const counts = process.env.TSVM_TEST_COUNTS;
    if (counts === undefined) process.on('exit', () => console.log(`${passed} passed, ${failed} failed`));
    // The lab ends without a look at what it has not written to the host's disk yet.
    else appendFileSync(counts, `${passed} ${failed}\n`, { flush: true });
  }
}
