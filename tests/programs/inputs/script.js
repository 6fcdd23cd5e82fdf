// Buffers, strings, zlib, crypto, files and worker threads; prints the same each time.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

const hash = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

let state = 12345;
function number(limit) {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return (state >>> 8) % limit;
}

function text(words) {
  const parts = [];
  for (let i = 0; i < words; i++) parts.push(number(5000).toString(36));
  return parts.join(' ');
}

function buffers() {
  const kept = [];
  for (let i = 0; i < 30000; i++) {
    const buffer = Buffer.allocUnsafeSlow(1 + number(i % 100 ? 4000 : 300000)).fill(i & 255);
    if (i % 3 === 0) kept.push(buffer);
    if (kept.length > 500) kept.splice(number(400), 100);
  }
  return hash(Buffer.concat(kept));
}

function work(seed) {
  state = seed;
  const input = Buffer.from(text(100000));
  const packed = zlib.gzipSync(input, { level: 6 });
  const brotli = zlib.brotliCompressSync(input, {
    params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 },
  });
  const back =
    zlib.gunzipSync(packed).equals(input) && zlib.brotliDecompressSync(brotli).equals(input);
  const map = new Map();
  for (const word of input.toString().split(' ')) map.set(word, (map.get(word) || 0) + 1);
  const json = JSON.stringify([...map].sort());
  const key = crypto.scryptSync('word', 'salt', 32, { N: 1024 });
  const cipher = crypto.createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
  const sealed = Buffer.concat([cipher.update(json), cipher.final(), cipher.getAuthTag()]);
  return [back, hash(packed), hash(brotli), map.size, hash(JSON.stringify(JSON.parse(json))),
    hash(sealed), buffers(), new Intl.NumberFormat('en').format(seed * 1e6)].join(' ');
}

async function files() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'node-'));
  const names = [...Array(200).keys()].map((n) => path.join(folder, `file${n}`));
  await Promise.all(names.map((name, n) => fs.promises.writeFile(name, text(200 + n))));
  const read = await Promise.all(names.map((name) => fs.promises.readFile(name)));
  const deflated = await Promise.all(read.map((data) => new Promise((resolve, reject) =>
    zlib.deflate(data, (error, out) => (error ? reject(error) : resolve(out))))));
  fs.rmSync(folder, { recursive: true });
  return hash(Buffer.concat(deflated));
}

async function main() {
  console.log('main', work(1));
  console.log('files', await files());
  const answers = await Promise.all([2, 3, 4, 5].map((seed) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: seed });
    worker.on('message', resolve);
    worker.on('error', reject);
  })));
  answers.forEach((answer, n) => console.log('worker', n, answer));
}

if (isMainThread) main(); else parentPort.postMessage(work(workerData));
