// Proves that instructions change an image config in its own order, and in time in their number.
import { expect, test } from 'vitest';
import { ImageSettings } from '../../../build/solve/image-config.js';

const BASE = {
  Labels: { a: '1' },
  Env: ['PATH=/bin', 'NO_VALUE'],
  Other: ['kept'],
  Volumes: null,
  OnBuild: ['RUN a'],
};

test('fields stay in their order, and those that nothing changes as they are', () => {
  const settings = new ImageSettings(BASE);
  expect(JSON.stringify(settings.toJson())).toBe(
    '{"Labels":{"a":"1"},"Env":["PATH=/bin","NO_VALUE"],"Other":["kept"],"OnBuild":["RUN a"]}',
  );
  settings.expose(['80/tcp']);
  settings.setEnv('PATH', '/sbin');
  settings.setLabel('__proto__', 'b');
  settings.addVolume('/v');
  settings.addTrigger('RUN b');
  expect(JSON.stringify(settings.toJson())).toBe(
    '{"Labels":{"a":"1","__proto__":"b"},"Env":["PATH=/sbin","NO_VALUE="],"Other":["kept"],"Volumes":{"/v":{}},' +
      '"OnBuild":["RUN a","RUN b"],"ExposedPorts":{"80/tcp":{}}}',
  );
  expect(BASE.Labels).toEqual({ a: '1' });
});

test('a clone has what was set, and changes alone', () => {
  const settings = new ImageSettings(BASE);
  settings.setEnv('A', '1');
  const clone = settings.clone();
  clone.setEnv('B', '2');
  clone.setLabel('b', '2');
  clone.addTrigger('RUN b');
  expect([...settings.env.keys()]).toEqual(['PATH', 'NO_VALUE', 'A']);
  expect([...clone.env.keys()]).toEqual(['PATH', 'NO_VALUE', 'A', 'B']);
  expect(settings.toJson().Labels).toEqual({ a: '1' });
  expect(settings.triggers).toEqual(['RUN a']);
});

test('a config without a PATH gets the usual one, which instructions can add to', () => {
  const settings = new ImageSettings({ Env: ['A=1'] });
  expect(settings.env.get('PATH')).toBe('/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin');
  settings.setEnv('PATH', `/more:${settings.env.get('PATH')}`);
  expect(settings.toJson().Env).toEqual([
    'A=1',
    'PATH=/more:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  ]);
});

test('a hundred thousand names are set in time in their number', () => {
  const settings = new ImageSettings({ Env: ['PATH=/bin'] });
  for (let index = 0; index < 100_000; index++) {
    settings.setEnv(`e${index}`, settings.env.get(`e${index - 1}`) ?? 'value');
    settings.setLabel(`l${index}`, '');
    settings.addVolume(`/v${index}`);
    settings.expose([`${index}/tcp`]);
    settings.addTrigger(`RUN ${index}`);
  }
  const { Env, Labels, Volumes, ExposedPorts, OnBuild } = settings.toJson() as Record<string, object>;
  const sizes = [Env, Labels, Volumes, ExposedPorts, OnBuild].map((field) => Object.keys(field ?? {}).length);
  expect(sizes).toEqual([100_001, 100_000, 100_000, 100_000, 100_000]);
  expect(settings.env.get('e99999')).toBe('value');
});
