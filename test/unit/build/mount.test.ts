// RUN --mount: which options each type has, and their defaults (Dockerfile reference, "RUN --mount").
import { expect, test } from 'vitest';
import { parseMount } from '../../../build/dockerfile/mount.js';

const parse = (text: string) => parseMount(text, (value) => value.replaceAll('$A', 'a'));

test.each([
  ['target=/t', { type: 'bind', target: '/t', from: undefined, source: '', readOnly: true }],
  ['type=bind,source=$A,dst=/t,from=s,rw', { type: 'bind', target: '/t', from: 's', source: 'a', readOnly: false }],
  ['type=bind,target=t,rw=false', { type: 'bind', target: 't', from: undefined, source: '', readOnly: true }],
  [
    'type=cache,target=/$A',
    { type: 'cache', id: '/a', target: '/a', sharing: 'shared', readOnly: false, mode: 0o755, uid: 0, gid: 0 },
  ],
  [
    'type=cache,id=i,target=/t,sharing=locked,ro,mode=0700,uid=5,gid=6',
    { type: 'cache', id: 'i', target: '/t', sharing: 'locked', readOnly: true, mode: 0o700, uid: 5, gid: 6 },
  ],
  [
    'type=cache,target=/t,from=s',
    {
      ...{ type: 'cache', id: '/t', target: '/t', from: 's', source: '', sharing: 'shared', readOnly: false },
      ...{ mode: 0o755, uid: 0, gid: 0 },
    },
  ],
  ['type=tmpfs,target=/t', { type: 'tmpfs', target: '/t', size: undefined }],
  ['type=tmpfs,target=/t,size=64m', { type: 'tmpfs', target: '/t', size: 64 << 20 }],
  [
    'type=secret,id=i',
    { type: 'secret', id: 'i', target: '/run/secrets/i', env: undefined, required: false, mode: 0o400, uid: 0, gid: 0 },
  ],
  [
    'type=secret,target=/x/i,mode=444,uid=1,required',
    { type: 'secret', id: 'i', target: '/x/i', env: undefined, required: true, mode: 0o444, uid: 1, gid: 0 },
  ],
  [
    'type=secret,id=i,env=V',
    { type: 'secret', id: 'i', target: undefined, env: 'V', required: false, mode: 0o400, uid: 0, gid: 0 },
  ],
  ['type=ssh', { type: 'ssh', id: 'default', target: undefined, required: false, mode: 0o600, uid: 0, gid: 0 }],
  [
    'type=ssh,id=$A,target=/s,required=true,mode=0660,uid=1,gid=2',
    { type: 'ssh', id: 'a', target: '/s', required: true, mode: 0o660, uid: 1, gid: 2 },
  ],
])('%s', (text, mount) => expect(parse(text)).toEqual(mount));

test.each([
  ['type=ssh,source=/s', 'unexpected key "source" for mount type ssh'],
  ['type=ssh,env=A', 'unexpected key "env" for mount type ssh'],
  ['type=volume,target=/t', 'unsupported mount type "volume"'],
  ['type=constructor,target=/t', 'unsupported mount type'],
  ['type=bind', 'a target is needed'],
  ['type=bind,target=/t,size=5', 'unexpected key "size" for mount type bind'],
  ['type=bind,target=/t,target=/u', '"target" is given twice'],
  ['type=bind,target=/t,from=$A', 'variables are not allowed in from'],
  ['type=bind,target=/t,ro=maybe', 'invalid value for readonly'],
  ['type=cache,target=/t,sharing=some', 'unsupported sharing value "some"'],
  ['type=cache,target=/t,from=$A', 'variables are not allowed in from'],
  ['type=cache,target=/t,mode=9', 'invalid value for mode'],
  ['type=cache,target=/t,uid=-1', 'invalid value for uid'],
  ['type=cache,target=/t,uid=4294967295', 'invalid value for uid'],
  ['type=tmpfs,target=/t,size=much', 'invalid value for size'],
  ['type=secret', 'an id is needed'],
  ['type=secret,id=i,env=a=b', 'invalid value for env'],
])('%s is refused', (text, why) => expect(() => parse(text)).toThrow(why));
