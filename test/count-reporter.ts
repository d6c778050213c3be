// Says how many tests passed and which failed: as a line of the file that `test/run.mjs` names, which
// prints the sum of its runs, or as the last line of the run.
import { appendFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    let passed = 0;
    const failures = unhandledErrors.map(({ message }) => message);
    for (const module of modules) {
      const file = relative(process.cwd(), module.moduleId);
      const tests = [...module.children.allTests()];
      passed += tests.filter((test) => test.result().state === 'passed').length;
      for (const test of tests) {
        const { state, errors = [] } = test.result();
        if (state === 'failed') failures.push(`${file}: ${test.fullName}: ${errors[0]?.message ?? ''}`);
      }
      // A file that failed to load has no tests: it counts as one failure.
      if (tests.length === 0 || module.errors().length > 0) {
        failures.push(`${file}: ${module.errors()[0]?.message ?? 'no tests'}`);
      }
    }
    const counts = process.env.TSVM_TEST_COUNTS;
    if (counts === undefined) process.on('exit', () => console.log(`${passed} passed, ${failures.length} failed`));
    // The lab ends without a look at what it has not written to the host's disk yet.
    else appendFileSync(counts, `${JSON.stringify({ passed, failures })}\n`, { flush: true });
  }
}
