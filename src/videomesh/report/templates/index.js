// Search and sort the cards of the page over all scenes.
const list = document.getElementById("cards");
const cards = [...list.children];
const search = document.getElementById("search");
const sort = document.getElementById("sort");
const texts = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const matches = words.every((word) => texts.get(card).includes(word));
    card.hidden = !matches;
    shown += matches;
  }
  document.getElementById("count").value = shown;
  document.getElementById("none").hidden = shown > 0;
}

function order() {
  const key = sort.value;
  const sign = sort.selectedOptions[0].dataset.order === "down" ? -1 : 1;
  const value = (card) => card.dataset[key];
  cards.sort((a, b) => {
    if (!value(a) || !value(b)) return Boolean(value(b)) - Boolean(value(a)); // what is not known comes last
    const [x, y] = [parseFloat(value(a)), parseFloat(value(b))];
    const numbers = key !== "scene" && !isNaN(x) && !isNaN(y);
    return numbers ? sign * (x - y) : value(a).localeCompare(value(b), undefined, { numeric: true });
  });
  list.append(...cards);
}

search.addEventListener("input", filter);
sort.addEventListener("change", order);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
