import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    reporters: ['default', './test/count-reporter.ts'],
    // Fewer files at once than cores would leave one idle; more would only make the emulated machine's clock jumpy.
    maxWorkers: 2,
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 120_000, hookTimeout: 120_000 } },
      { test: { name: 'kvm', include: ['test/kvm/**/*.test.ts'], testTimeout: 60_000 } },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: ['test/e2e/global-setup.ts'],
          // On a host that others keep busy the lab is ten times slower than on one of its own.
          testTimeout: 600_000,
          hookTimeout: 600_000,
          // For hosts that stand still for minutes. What needed another try is told at the end.
          retry: 2,
        },
      },
    ],
  },
});
