// What a build tells of its checks.
import { expect, test } from 'vitest';
import { tellingFindings } from '../../../../build/check/telling.js';
import { type StepEvent, Steps } from '../../../../build/progress.js';

test('a check that fails is a warning, and the build goes on', async () => {
  const events: StepEvent[] = [];
  const checking = Promise.reject(new RangeError('a fault of the checker'));
  {
    await using _telling = tellingFindings(checking, new Steps((event) => events.push(event)), undefined);
  }
  expect(events).toEqual([{ is: 'warning', message: 'the checks of the Dockerfile failed: a fault of the checker' }]);
});
