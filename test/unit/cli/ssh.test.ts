// --ssh of tsvm build: which agents and files it names.
import { afterEach, expect, test, vi } from 'vitest';
import { parseSsh } from '../../../cli/options/ssh.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

test.each([
  [['default'], { default: ['/user/agent'] }],
  [['a=/k'], { a: ['/k'] }],
  [['a=/k=1,/l', 'default', 'b'], { a: ['/k=1', '/l'], default: ['/user/agent'], b: ['/user/agent'] }],
])('%j', (given, found) => {
  vi.stubEnv('SSH_AUTH_SOCK', '/user/agent');
  expect(Object.fromEntries(parseSsh(given))).toEqual(found);
});

test.each([
  [['default'], "invalid argument 'default' for --ssh: SSH_AUTH_SOCK is not set: start ssh-agent, or give a key"],
  [['=/k'], "invalid argument '=/k' for --ssh: expected an ID"],
  [['a='], "invalid argument 'a=' for --ssh: expected a path"],
  [['a=/k,'], "invalid argument 'a=/k,' for --ssh: expected a path"],
  [['a=/k', 'a=/l'], "invalid argument 'a=/l' for --ssh: 'a' was given twice"],
])('%j is refused', (given, message) => {
  vi.stubEnv('SSH_AUTH_SOCK', undefined);
  expect(() => parseSsh(given)).toThrow(message);
});
