// What is typed leaves only the rows that have every word of it.
{
  const rows = [...document.querySelectorAll("#units tbody tr")];
  const input = document.getElementById("filter"), left = document.getElementById("left");
  input.parentElement.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    left.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });
}
