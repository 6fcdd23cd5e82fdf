-- Tables, strings, closures, coroutines and the collector; prints the same each time.
local state = 12345
local function number(limit)
  state = (state * 1103515245 + 12345) % 2147483648
  return state // 65536 % limit
end

local function checksum(text)
  local a, b = 1, 0
  for i = 1, #text do
    a = (a + text:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b << 16 | a
end

local words, count = {}, {}
for i = 1, 100000 do
  local letters = {}
  for j = 1, 2 + number(5) do letters[j] = string.char(97 + number(26)) end
  local word = table.concat(letters)
  words[i] = word
  count[word] = (count[word] or 0) + 1
end
local unique = {}
for word in pairs(count) do unique[#unique + 1] = word end
table.sort(unique, function(x, y)
  if count[x] ~= count[y] then return count[x] > count[y] end
  return x < y
end)
print(#unique, unique[1], checksum(table.concat(unique, " ")))

local text = table.concat(words, " ")
local turned = text:gsub("(%a)(%a+)", "%2%1"):gsub("[aeiou]+", string.upper)
print(#turned, checksum(turned))
print(select(2, text:gsub("%f[%a]a%a*z%f[%A]", "")), text:find("zz", 1, true))

local function tree(depth)
  if depth == 0 then return { value = number(1000) } end
  return { left = tree(depth - 1), right = tree(depth - 1), name = "node" .. depth }
end
local function total(node)
  if node.value then return node.value end
  return total(node.left) + total(node.right)
end
for round = 1, 4 do print("tree", round, total(tree(15))) end

local routines = {}
for i = 1, 3000 do
  routines[i] = coroutine.wrap(function()
    local sum = 0
    for j = 1, 20 do sum = sum + i * j coroutine.yield(sum) end
    return -1
  end)
end
local sum = 0
for _ = 1, 20 do
  for _, routine in ipairs(routines) do sum = sum + routine() end
end
print("coroutines", sum)

local weak = setmetatable({}, { __mode = "k" })
local finalized = 0
for i = 1, 20000 do
  local key = setmetatable({ i }, { __gc = function() finalized = finalized + 1 end })
  weak[key] = string.rep(tostring(i), i % 50)
end
collectgarbage()
collectgarbage()
print("collected", finalized, next(weak))

local parts = {}
for i = 1, 20000 do parts[i] = string.pack("<i4s2z", i, words[i], words[i + 1]) end
local packed = table.concat(parts)
local where, last = 1, 0
while where <= #packed do last, _, _, where = string.unpack("<i4s2z", packed, where) end
print("packed", #packed, last, checksum(packed:rep(3)))
