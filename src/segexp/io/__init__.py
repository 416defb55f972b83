"""Files: written atomically, and replaced only if segexp can prove that it wrote them."""
