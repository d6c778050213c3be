// Proves that `import --change` gives an image the config that Docker gives it.
import { describe, expect, test } from 'vitest';
import { applyChanges } from '../../../images/import-changes.js';
import type { ImageConfig } from '../../../images/index.js';
import { failure } from './failure.js';

describe('a change', () => {
  const config = (): ImageConfig => ({
    architecture: 'amd64',
    os: 'linux',
    created: '',
    Env: ['PATH=/bin'],
    Entrypoint: [],
    Cmd: ['old'],
    User: '',
    WorkingDir: '/srv',
    StopSignal: '',
    ExposedPorts: [],
    Volumes: [],
    Labels: {},
  });

  test.each<[string, Partial<ImageConfig>]>([
    ['CMD ["a", "b c"]', { Cmd: ['a', 'b c'] }],
    ['cmd echo "$HOME"', { Cmd: ['/bin/sh', '-c', 'echo "$HOME"'] }],
    ['ENTRYPOINT ["/init"]', { Entrypoint: ['/init'], Cmd: [] }],
    ['ENV A=1 B="two words" C=a\\ b', { Env: ['PATH=/bin', 'A=1', 'B=two words', 'C=a b'] }],
    ['ENV PATH /usr/bin and more', { Env: ['PATH=/usr/bin and more'] }],
    ['WORKDIR sub', { WorkingDir: '/srv/sub' }],
    ['WORKDIR /x', { WorkingDir: '/x' }],
    ['USER app:app', { User: 'app:app' }],
    ['STOPSIGNAL SIGQUIT', { StopSignal: 'SIGQUIT' }],
    ['EXPOSE 80 53/udp 80', { ExposedPorts: ['80/tcp', '53/udp'] }],
    ['VOLUME /data', { Volumes: ['/data'] }],
    ['VOLUME ["/a", "/b"]', { Volumes: ['/a', '/b'] }],
    ['LABEL a=b "c d"="e"', { Labels: { a: 'b', 'c d': 'e' } }],
  ])('is applied as Docker applies it: %s', (change, expected) => {
    expect(applyChanges(config(), [change])).toEqual({ ...config(), ...expected });
  });

  test.each(['', 'CMD', 'RUN ls', 'FROM x', 'CMD ["a"', 'CMD [1]', 'ENV =1', 'ENV A="', 'EXPOSE http'])(
    'is refused if it is invalid: %j',
    (change) => {
      expect(() => applyChanges(config(), [change])).toThrow(failure('bad-change') as Error);
    },
  );
});
