// --tmpfs is parsed to a mount, or refused.
import { describe, expect, test } from 'vitest';
import { parseTmpfs } from '../../../../cli/options/tmpfs.js';

describe('parseTmpfs', () => {
  test('a folder alone has the default options', () => {
    expect(parseTmpfs('/run', '--tmpfs')).toEqual({ path: '/run' });
  });

  test('options of mount(8) become those of the mount', () => {
    expect(parseTmpfs('/tmp:ro,exec,suid,dev,size=64m,mode=1777,uid=1000,gid=5', '--tmpfs')).toEqual({
      path: '/tmp',
      readonly: true,
      exec: true,
      suid: true,
      dev: true,
      size: 64 * 2 ** 20,
      mode: 0o1777,
      uid: 1000,
      gid: 5,
    });
  });

  test('the last of two conflicting options wins', () => {
    expect(parseTmpfs('/tmp:noexec,exec', '--tmpfs').exec).toBe(true);
  });

  test.each(['', 'tmp', '/', '//', '/tmp:', '/tmp:huge', '/tmp:mode=999', '/tmp:uid=root', '/tmp:size', '/tmp:ro=1'])(
    '%j is refused',
    (text) => {
      expect(() => parseTmpfs(text, '--tmpfs')).toThrow(/invalid argument .* for --tmpfs/);
    },
  );
});
