// The last line of a test run: how many tests passed and failed, for people and for continuous integration.
import type { Reporter, TestModule } from 'vitest/node';

export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    let passed = 0;
    let failed = unhandledErrors.length;
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      passed += tests.filter((test) => test.result().state === 'passed').length;
      failed += tests.filter((test) => test.result().state === 'failed').length;
      // A file that could not be loaded has no tests to count.
      if (tests.length === 0 || module.errors().length > 0) failed += 1;
    }
    process.on('exit', () => console.log(`${passed} passed, ${failed} failed`));
  }
}
