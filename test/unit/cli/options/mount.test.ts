// -v and --mount are parsed to mounts, or refused.
import { describe, expect, test } from 'vitest';
import { parseMount, parseVolume } from '../../../../cli/options/mount.js';
import { UsageError } from '../../../../cli/output/errors.js';

describe('-v', () => {
  test.each([
    ['/srv:/data', { type: 'bind', source: '/srv', target: '/data' }],
    ['/srv:/data:ro', { type: 'bind', source: '/srv', target: '/data', readOnly: true }],
    ['/srv:/data:rw,Z', { type: 'bind', source: '/srv', target: '/data' }],
    ['db.1:/var/lib/db', { type: 'volume', source: 'db.1', target: '/var/lib/db' }],
    ['db.1:/var/lib/db:nocopy', { type: 'volume', source: 'db.1', target: '/var/lib/db', noCopy: true }],
    ['/var/lib/db', { type: 'volume', source: '', target: '/var/lib/db' }],
  ])('%s is a mount', (text, mount) => expect(parseVolume(text, '--volume')).toEqual(mount));

  test.each([
    ['srv', 'expected HOST:GUEST or HOST:GUEST:ro'],
    ['/srv:', 'expected HOST:GUEST or HOST:GUEST:ro'],
    [':/data', 'expected HOST:GUEST or HOST:GUEST:ro'],
    ['/a:/b:ro:rw', 'expected HOST:GUEST or HOST:GUEST:ro'],
    ['/srv:data', "the path in the container, 'data', must be absolute"],
    ['./srv:/data', "the path on the host, './srv', must be absolute"],
    ['../srv:/data', "the path on the host, '../srv', must be absolute"],
    ['/srv:/data:rx', "unknown option 'rx'"],
    ['/srv:/data:nocopy', "unknown option 'nocopy'"],
  ])('%s is refused', (text, why) => {
    expect(() => parseVolume(text, '--volume')).toThrow(
      new UsageError(`invalid argument '${text}' for --volume: ${why}`),
    );
  });
});

describe('--mount', () => {
  test.each([
    ['type=bind,src=/srv,dst=/data,ro', { type: 'bind', source: '/srv', target: '/data', readOnly: true }],
    ['type=volume,source=v1,target=/data', { type: 'volume', source: 'v1', target: '/data', readOnly: false }],
    ['target=/data', { type: 'volume', source: '', target: '/data', readOnly: false }],
    ['src=v1,dst=/d,volume-nocopy', { type: 'volume', source: 'v1', target: '/d', readOnly: false, noCopy: true }],
    [
      'src=v1,dst=/d,volume-opt=size=10m,volume-opt=inodes=5',
      { type: 'volume', source: 'v1', target: '/d', readOnly: false, bounds: { size: 10 * 2 ** 20, inodes: 5 } },
    ],
    ['source=v1,destination=/data,readonly=false', { type: 'volume', source: 'v1', target: '/data', readOnly: false }],
  ])('%s is a mount', (text, mount) => expect(parseMount(text, '--mount')).toEqual({ mounts: [mount], tmpfs: [] }));

  test('type=tmpfs is a tmpfs', () => {
    const { mounts, tmpfs } = parseMount('type=tmpfs,dst=/run,tmpfs-size=64m,tmpfs-mode=0700', '--mount');
    expect(mounts).toEqual([]);
    expect(tmpfs).toEqual([{ path: '/run', readonly: false, size: 64 * 2 ** 20, mode: 0o700 }]);
  });

  test.each([
    ['type=bind,target=/data', 'expected source='],
    ['type=bind,source=srv,target=/data', "the path on the host, 'srv', must be absolute"],
    ['type=bind,source=/srv', 'expected target= with an absolute path'],
    ['type=bind,source=/srv,target=data', 'expected target= with an absolute path'],
    ['type=nfs,source=/srv,target=/data', "unknown type 'nfs': expected bind, volume or tmpfs"],
    ['type=bind,source=/srv,src=/x,target=/data', "'source' was given twice"],
    ['type=bind,source=/srv,target=/data,volume-nocopy', "unknown option 'volume-nocopy' for type bind"],
    ['type=bind,source=/srv,target=/data,volume-opt=size=1m', "unknown option 'volume-opt' for type bind"],
    ['type=bind,source=/srv,target=/data,frob', "unknown option 'frob' for type bind"],
    ['type=bind,source=/srv,target=/data,ro=maybe', 'readonly must be true or false'],
    ['type=tmpfs,target=/run,tmpfs-mode=9', "mode '9' is not an octal number"],
    ['type=tmpfs,target=/run,source=/srv', "unknown option 'source' for type tmpfs"],
  ])('%s is refused', (text, why) => {
    expect(() => parseMount(text, '--mount')).toThrow(new UsageError(`invalid argument '${text}' for --mount: ${why}`));
  });

  test.each([
    ['o=uid=1', "invalid argument 'o=uid=1' for --mount volume-opt: expected size=SIZE or inodes=N"],
    ['size=0', "invalid argument '0' for --mount volume-opt size: must be above 0"],
    ['inodes=many', "invalid argument 'many' for --mount volume-opt inodes: expected a number"],
  ])('volume-opt=%s is refused', (option, message) => {
    expect(() => parseMount(`src=v1,dst=/d,volume-opt=${option}`, '--mount')).toThrow(new UsageError(message));
  });
});
