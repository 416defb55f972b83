"""Files: whole or not at all, and replaced only where segexp can prove that it wrote them."""
